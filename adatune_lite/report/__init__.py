"""What is made of records: groups of runs, tables, statistics, figures.

`groups` is how an experiment says which runs it wants and reads their records again; `tables` writes rows and
named columns. This room knows runs and records, no claim and no experiment.
"""
