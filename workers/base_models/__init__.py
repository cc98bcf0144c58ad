"""Base models as training and inference share them: their files, chat template, control tokens and number format."""
