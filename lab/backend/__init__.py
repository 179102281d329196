"""A small web service with a database, a pooler and a cache; runs in its own image on Debian's packages."""
