"""Phase transitions over the penalty: branches, order, exact values."""
