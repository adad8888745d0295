"""The parts that every HTTP endpoint uses: authentication, limits of bodies, answers."""
