"""The Python interface: everything that a command does, as a typed call.

``zsar_bench`` gives these names lazily (``import zsar_bench as zb``). Calls print nothing; long
ones take ``progress``. What a user can get wrong is a ``UserError``, with the next step as its
hint; plugin code that fails is a ``RunFailed``.
"""
