-- A task that was cleaned and gets contents again is not clean any more.

CREATE TRIGGER task_messages_unclean AFTER INSERT ON task_messages
WHEN (SELECT cleaned_at FROM tasks WHERE id = NEW.task_id) IS NOT NULL
BEGIN
    UPDATE tasks SET cleaned_at = NULL WHERE id = NEW.task_id;
END;

CREATE TRIGGER task_states_unclean AFTER INSERT ON task_states
WHEN (SELECT cleaned_at FROM tasks WHERE id = NEW.task_id) IS NOT NULL
BEGIN
    UPDATE tasks SET cleaned_at = NULL WHERE id = NEW.task_id;
END;

CREATE TRIGGER events_unclean AFTER INSERT ON events
WHEN (SELECT cleaned_at FROM tasks WHERE id = NEW.task_id) IS NOT NULL
BEGIN
    UPDATE tasks SET cleaned_at = NULL WHERE id = NEW.task_id;
END;
