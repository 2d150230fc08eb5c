"""Real kills over all five systems: two ``hub run`` on PostgreSQL and RabbitMQ, every provider played.

Begin in ``run.py``; ``python -m tests.faults.kills --help`` runs it by hand.
"""
