"""The built-in stand-in: synthetic skeletons of the classes of NTU RGB+D 60/120 and PKU-MMD.

``grammar.toml`` says how every class moves and ``GRAMMAR.md`` what its words mean; the modules
here are the engine that follows them. A straight line, and the modules stand in that order:

    grammar    a class's motion in words; words exchanged between classes; the oracle's vector
    draws      random numbers that depend on nothing but a name
    subjects   bodies, styles and habits of performers
    curves     how things move between two places: minimum jerk, keys of a trajectory
    cues       what one body does: its words become numbers for every phase and limb
    script     one performance: cues of both bodies, time, place
    gait       where the root goes and where free feet stand
    signals    numbers a phase become numbers a frame
    limbs      where hands and feet go: targets, ways, cycles, elbows and knees
    engine     frames: trunk, head, legs, arms and fingers of many clips at once
    cameras    where a clip is seen from, and what a Kinect adds
    samples    which clips there are
    generator  all of it for a data set (``contracts.DatasetGenerator``)
    oracle     motions as texts, for the row that says what a perfect text could give
"""
