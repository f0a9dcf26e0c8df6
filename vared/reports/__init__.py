"""From tidy tables to what a reader sees: tables of the thesis beside ours, and the pages that hold them."""
