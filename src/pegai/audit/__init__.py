"""Attacks on pegai's own private paths: what is claimed must survive them.

`replay` looks for anything that escapes besides charged outputs, `gdp` measures how far two worlds
can be told apart by what is released, `mechanisms` checks the parts, `canaries` DP-SGD, `artefacts`
the folder that leaves.
"""
