package dev.forkd.state;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.List;

/**
 * The tables, and the way from each version to the next. {@code user_version} counts how many of
 * {@link #MIGRATIONS} a database has seen; a released one is never edited, only followed.
 */
final class SqliteSchema {
  private static final List<List<String>> MIGRATIONS =
      List.of(
          List.of(
              """
              CREATE TABLE snapshot (
                tag TEXT PRIMARY KEY NOT NULL,
                state TEXT NOT NULL CHECK (state IN ('WRITING', 'READY', 'DELETING')),
                template INTEGER NOT NULL CHECK (template IN (0, 1)),
                parent_tag TEXT,
                branched_from TEXT,
                branch_mode TEXT,
                created_unix_millis INTEGER NOT NULL,
                manifest_json TEXT NOT NULL
              ) STRICT
              """,
              "CREATE INDEX snapshot_parent ON snapshot (parent_tag)",
              """
              CREATE TABLE sandbox (
                id TEXT PRIMARY KEY NOT NULL,
                state TEXT NOT NULL CHECK (state IN ('STARTING', 'LIVE', 'FAILED', 'KILLING')),
                snapshot_tag TEXT NOT NULL,
                pid INTEGER NOT NULL,
                start_ticks INTEGER NOT NULL,
                created_unix_millis INTEGER NOT NULL,
                memory_limit_mib INTEGER,
                detail_json TEXT NOT NULL
              ) STRICT
              """,
              """
              CREATE TABLE layer (
                id TEXT PRIMARY KEY NOT NULL,
                kind TEXT NOT NULL CHECK (kind IN ('RAM', 'DISK')),
                path TEXT NOT NULL,
                bytes INTEGER NOT NULL
              ) STRICT
              """,
              """
              CREATE TABLE layer_ref (
                owner_kind TEXT NOT NULL CHECK (owner_kind IN ('SNAPSHOT', 'SANDBOX', 'LAYER')),
                owner_id TEXT NOT NULL,
                layer_id TEXT NOT NULL REFERENCES layer (id),
                PRIMARY KEY (owner_kind, owner_id, layer_id)
              ) STRICT, WITHOUT ROWID
              """,
              "CREATE INDEX layer_ref_layer ON layer_ref (layer_id)",
              """
              CREATE TABLE operation (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                kind TEXT NOT NULL,
                subject TEXT NOT NULL,
                detail_json TEXT NOT NULL,
                started_unix_millis INTEGER NOT NULL
              ) STRICT
              """,
              """
              CREATE TABLE operation_step (
                operation INTEGER NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
                number INTEGER NOT NULL,
                step TEXT NOT NULL,
                PRIMARY KEY (operation, number)
              ) STRICT, WITHOUT ROWID
              """),
          // Nobody ever wrote to these: manifests say who needs an image, states what is half done.
          List.of(
              "DROP TABLE operation_step",
              "DROP TABLE operation",
              "DROP TABLE layer_ref",
              "DROP TABLE layer"),
          List.of(
              """
              CREATE TABLE workspace (
                name TEXT PRIMARY KEY NOT NULL,
                id TEXT NOT NULL,
                state TEXT NOT NULL CHECK (state IN ('CREATING', 'RUNNING', 'SUSPENDING',
                  'SETTLING', 'SUSPENDED', 'RESUMING', 'DELETING')),
                source_tag TEXT NOT NULL,
                sandbox_id TEXT,
                next_sandbox_id TEXT,
                state_tag TEXT,
                staged_tag TEXT,
                retired_tag TEXT,
                generation INTEGER NOT NULL,
                memory_limit_mib INTEGER,
                created_unix_millis INTEGER NOT NULL,
                active_unix_millis INTEGER NOT NULL
              ) STRICT
              """),
          List.of(
              """
              CREATE TABLE pool (
                tag TEXT PRIMARY KEY NOT NULL,
                size INTEGER NOT NULL CHECK (size > 0),
                prewarm INTEGER NOT NULL CHECK (prewarm IN (0, 1))
              ) STRICT
              """),
          List.of(
              """
              CREATE TABLE hosted (
                id TEXT PRIMARY KEY NOT NULL,
                detail_json TEXT NOT NULL,
                disk_only INTEGER NOT NULL CHECK (disk_only IN (0, 1)),
                started_unix_millis INTEGER NOT NULL,
                end_unix_millis INTEGER NOT NULL
              ) STRICT
              """));

  private SqliteSchema() {}

  /** Brings a database to the newest version, each step in a transaction of its own. */
  static void migrate(Sql sql, Path file) throws SQLException {
    int version = sql.query("PRAGMA user_version", row -> row.getInt(1)).getFirst();
    if (version > MIGRATIONS.size()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "state database "
              + file
              + " has version "
              + version
              + ", this forkd knows up to "
              + MIGRATIONS.size()
              + ": it was written by a newer forkd; use that one, or another data directory");
    }
    for (int next = version; next < MIGRATIONS.size(); next++) {
      sql.execute("BEGIN IMMEDIATE");
      for (String statement : MIGRATIONS.get(next)) {
        sql.execute(statement);
      }
      sql.execute("PRAGMA user_version = " + (next + 1));
      sql.execute("COMMIT");
    }
  }
}
