from tests.explaining.laboratory import where

__all__ = ["where"]
