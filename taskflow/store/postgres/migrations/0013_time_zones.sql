-- Nodes publish the version of their time zone database, so that nodes that differ can be found.
-- Those of the version before say nothing.

ALTER TABLE taskflow_nodes ADD COLUMN tz_version text;
