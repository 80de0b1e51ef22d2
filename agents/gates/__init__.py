"""Gates: what must hold before an agent's due time becomes a run, found out without a model. One file for each kind.

checking.py    asks an agent's gates in order, each within its time limit, up to the first that is closed
changed.py     files under granted folders have changed (survey.py looks at the disk)
url.py         a page of a granted host has changed (fetching.py asks for it, addresses.py says which computers may be asked)
command.py     a granted command ends with exit code 0 (programs.py says which may be run)
hours.py, power.py, memory.py
"""
