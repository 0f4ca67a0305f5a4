"""Does what the advice predicts come true? Predicted gains beside real trainings."""
