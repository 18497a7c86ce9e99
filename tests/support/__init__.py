"""What several tests share: an origin, viewers, old clients and whole worlds to try them in.

Nothing in here may import from wormkey except world.py, which starts it: a viewer that trusted
the project's own parser would believe the project's own mistakes.
"""
