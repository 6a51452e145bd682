"""The intermediate representation: models as graphs of ops, what ops take and give, the own file format."""
