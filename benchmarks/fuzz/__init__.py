"""The fuzzing campaign: every parser of strangers' bytes against hundreds of thousands of them.

``python -m benchmarks.fuzz`` runs it; see ``benchmarks/README.md``. ``mutate`` damages small valid
files; ``readers``, ``own``, ``texts`` and ``results`` say what reads them; ``attempt`` judges one
reading; ``child`` makes many of them in a process with limits; ``campaign`` starts the children and
``report`` writes down what they found.
"""
