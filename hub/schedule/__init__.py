"""Time: timers that handlers set, and the schedules of routing.yaml. Both become ordinary events when they are due."""
