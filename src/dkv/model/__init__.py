"""The words of the house: ids, commands, outcomes, limits, errors. Values only; imports nothing of the rest."""
