//! Shows that the tools of cqrs-es read our ledger: see `tests/`. Run with `DATABASE_URL` naming a Postgres server on which a database may be made.
