"""Networks that read bases one by one."""
