"""What happens when a rule matches: the language, the operators, the policies, the ways out."""
