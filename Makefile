# Two commands do everything for a new user: make demo, make test. docs/development.md has the rest.
