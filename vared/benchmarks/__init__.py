"""How much of the counted saving arrives as time: static and dynamic networks timed side by side in one process.

case (cases) -> network, clips, policies (subjects, mixes) -> versions (versions) -> interleaved timing (contest)
     -> one JSON record a case (measurement, training, memory, machine) -> table and plot (reporting, plotting)
"""
