-- Takes the migration of the counts back, for a test that applies it once more.
DROP TRIGGER taskflow_added ON taskflow_tasks;
DROP TRIGGER taskflow_moved ON taskflow_tasks;
DROP TRIGGER taskflow_deleted ON taskflow_tasks;
DROP TRIGGER taskflow_emptied ON taskflow_tasks;
DROP FUNCTION taskflow_note_added, taskflow_note_moved, taskflow_note_deleted, taskflow_note_emptied;
DROP FUNCTION taskflow_share;
DROP TABLE taskflow_changes, taskflow_counts, taskflow_endings;
DELETE FROM taskflow_migrations WHERE name = 'counts';
