"""What the library gave before the house was rebuilt, held while it is rebuilt. Temporary.

For every experiment and profile: the plan, every table, sentence, figure and verdict, computed from the
records that the commit of the freeze had, whatever was added since. This folder goes away when the
rebuilding is done.

    python -m tests.freeze compare [01 ...]    what differs, as a diff
    python -m tests.freeze write [01 ...]      takes the present state as what is expected: for wanted changes
    pytest tests/freeze -k 06                  one experiment as a test

`sources` says which call gives which output: who moves or renames a function changes that module alone, and
the names of the outputs stay. `records.txt` lists the records.
"""
