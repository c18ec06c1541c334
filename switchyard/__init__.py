"""Ground floor: the plan, the state database and the errors that everything else speaks."""
