"""The local page over the runs: `thalweg ui`. Importing this loads no Starlette."""
