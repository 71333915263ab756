"""Parts of make_site.py: execute the notebooks, stage the pages, build the site."""
