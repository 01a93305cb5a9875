"""How events flow: log, codec, processors, stores."""
