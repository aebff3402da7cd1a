"""The local page over the runs: a table, live metrics, reports, comparison, cancelling and going on."""
