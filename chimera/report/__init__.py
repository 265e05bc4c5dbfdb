"""A result, told: terminal, JSON, HTML page, drawings. Sees only the model, so an old result renders anywhere."""
