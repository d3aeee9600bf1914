-- Cells: the map of cells, and ids that name the cell that made them. Without cells the table is
-- empty, and the function, which is inlined, changes nothing.

CREATE TABLE taskflow_cell_map (
    is_only  boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    version  bigint  NOT NULL,
    document text    NOT NULL
);

-- The last digits of the ids of a statement: `taskflow cells add` has them end with its number.
CREATE FUNCTION taskflow_marked(digits text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN digits;
