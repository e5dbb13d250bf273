package dev.forkd.state;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.file.Path;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** The statements behind {@link Tx}. One thread at a time; commits nothing itself. */
final class SqliteTx implements Tx {
  private static final String SNAPSHOT_COLUMNS =
      "tag, state, template, parent_tag, branched_from, branch_mode, created_unix_millis,"
          + " manifest_json";
  private static final String SANDBOX_COLUMNS =
      "id, state, snapshot_tag, pid, start_ticks, created_unix_millis, memory_limit_mib,"
          + " detail_json";

  private static final String WORKSPACE_COLUMNS =
      "name, id, state, source_tag, sandbox_id, next_sandbox_id, state_tag, staged_tag, retired_tag,"
          + " generation, memory_limit_mib, created_unix_millis, active_unix_millis";

  private final Sql sql;
  private final Path file;

  SqliteTx(Sql sql, Path file) {
    this.sql = sql;
    this.file = file;
  }

  @Override
  public void insertSnapshot(SnapshotRow row) {
    int added =
        update(
            "INSERT INTO snapshot ("
                + SNAPSHOT_COLUMNS
                + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            row.tag(),
            row.state().name(),
            row.template() ? 1 : 0,
            row.parentTag().orElse(null),
            row.branchedFrom().orElse(null),
            row.branchMode().orElse(null),
            row.createdUnixMillis(),
            row.manifestJson());
    requireAdded(added, "snapshot", row.tag());
  }

  @Override
  public void updateSnapshot(SnapshotRow row) {
    int changed =
        update(
            "UPDATE snapshot SET state = ?, template = ?, parent_tag = ?, branched_from = ?,"
                + " branch_mode = ?, created_unix_millis = ?, manifest_json = ? WHERE tag = ?",
            row.state().name(),
            row.template() ? 1 : 0,
            row.parentTag().orElse(null),
            row.branchedFrom().orElse(null),
            row.branchMode().orElse(null),
            row.createdUnixMillis(),
            row.manifestJson(),
            row.tag());
    requireFound(changed, "snapshot", row.tag());
  }

  @Override
  public boolean deleteSnapshot(String tag) {
    return update("DELETE FROM snapshot WHERE tag = ?", tag) > 0;
  }

  @Override
  public Optional<SnapshotRow> findSnapshot(String tag) {
    return first(
        query("SELECT " + SNAPSHOT_COLUMNS + " FROM snapshot WHERE tag = ?", this::snapshot, tag));
  }

  @Override
  public List<SnapshotRow> listSnapshots() {
    return query("SELECT " + SNAPSHOT_COLUMNS + " FROM snapshot ORDER BY tag", this::snapshot);
  }

  @Override
  public List<SnapshotRow> childrenOf(String tag) {
    return query(
        "SELECT " + SNAPSHOT_COLUMNS + " FROM snapshot WHERE parent_tag = ? ORDER BY tag",
        this::snapshot,
        tag);
  }

  @Override
  public void insertSandbox(SandboxRow row) {
    int added =
        update(
            "INSERT INTO sandbox ("
                + SANDBOX_COLUMNS
                + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            row.id(),
            row.state().name(),
            row.snapshotTag(),
            row.pid(),
            row.startTicks(),
            row.createdUnixMillis(),
            row.memoryLimitMib().orElse(null),
            row.detailJson());
    requireAdded(added, "sandbox", row.id());
  }

  @Override
  public void updateSandbox(SandboxRow row) {
    int changed =
        update(
            "UPDATE sandbox SET state = ?, snapshot_tag = ?, pid = ?, start_ticks = ?,"
                + " created_unix_millis = ?, memory_limit_mib = ?, detail_json = ? WHERE id = ?",
            row.state().name(),
            row.snapshotTag(),
            row.pid(),
            row.startTicks(),
            row.createdUnixMillis(),
            row.memoryLimitMib().orElse(null),
            row.detailJson(),
            row.id());
    requireFound(changed, "sandbox", row.id());
  }

  @Override
  public boolean deleteSandbox(String id) {
    return update("DELETE FROM sandbox WHERE id = ?", id) > 0;
  }

  @Override
  public Optional<SandboxRow> findSandbox(String id) {
    return first(
        query("SELECT " + SANDBOX_COLUMNS + " FROM sandbox WHERE id = ?", this::sandbox, id));
  }

  @Override
  public List<SandboxRow> listSandboxes() {
    return query("SELECT " + SANDBOX_COLUMNS + " FROM sandbox ORDER BY id", this::sandbox);
  }

  @Override
  public void insertWorkspace(WorkspaceRow row) {
    int added =
        update(
            "INSERT INTO workspace ("
                + WORKSPACE_COLUMNS
                + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            row.name(),
            row.id(),
            row.state().name(),
            row.sourceTag(),
            row.sandboxId().orElse(null),
            row.nextSandboxId().orElse(null),
            row.stateTag().orElse(null),
            row.stagedTag().orElse(null),
            row.retiredTag().orElse(null),
            row.generation(),
            row.memoryLimitMib().orElse(null),
            row.createdUnixMillis(),
            row.activeUnixMillis());
    requireAdded(added, "workspace", row.name());
  }

  @Override
  public void updateWorkspace(WorkspaceRow row) {
    int changed =
        update(
            "UPDATE workspace SET id = ?, state = ?, source_tag = ?, sandbox_id = ?,"
                + " next_sandbox_id = ?, state_tag = ?, staged_tag = ?, retired_tag = ?,"
                + " generation = ?, memory_limit_mib = ?, created_unix_millis = ?,"
                + " active_unix_millis = ? WHERE name = ?",
            row.id(),
            row.state().name(),
            row.sourceTag(),
            row.sandboxId().orElse(null),
            row.nextSandboxId().orElse(null),
            row.stateTag().orElse(null),
            row.stagedTag().orElse(null),
            row.retiredTag().orElse(null),
            row.generation(),
            row.memoryLimitMib().orElse(null),
            row.createdUnixMillis(),
            row.activeUnixMillis(),
            row.name());
    requireFound(changed, "workspace", row.name());
  }

  @Override
  public boolean deleteWorkspace(String name) {
    return update("DELETE FROM workspace WHERE name = ?", name) > 0;
  }

  @Override
  public Optional<WorkspaceRow> findWorkspace(String name) {
    return first(
        query(
            "SELECT " + WORKSPACE_COLUMNS + " FROM workspace WHERE name = ?",
            this::workspace,
            name));
  }

  @Override
  public List<WorkspaceRow> listWorkspaces() {
    return query("SELECT " + WORKSPACE_COLUMNS + " FROM workspace ORDER BY name", this::workspace);
  }

  @Override
  public void putPool(PoolRow row) {
    update(
        "INSERT INTO pool (tag, size, prewarm) VALUES (?, ?, ?)"
            + " ON CONFLICT (tag) DO UPDATE SET size = excluded.size, prewarm = excluded.prewarm",
        row.tag(),
        row.size(),
        row.prewarm() ? 1 : 0);
  }

  @Override
  public boolean deletePool(String tag) {
    return update("DELETE FROM pool WHERE tag = ?", tag) > 0;
  }

  @Override
  public List<PoolRow> listPools() {
    return query(
        "SELECT tag, size, prewarm FROM pool ORDER BY tag",
        row -> new PoolRow(row.getString(1), row.getInt(2), row.getInt(3) != 0));
  }

  @Override
  public void putHosted(HostedRow row) {
    update(
        "INSERT INTO hosted (id, detail_json, disk_only, started_unix_millis, end_unix_millis)"
            + " VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            + " detail_json = excluded.detail_json, disk_only = excluded.disk_only,"
            + " started_unix_millis = excluded.started_unix_millis,"
            + " end_unix_millis = excluded.end_unix_millis",
        row.id(),
        row.detailJson(),
        row.diskOnly() ? 1 : 0,
        row.startedUnixMillis(),
        row.endUnixMillis());
  }

  @Override
  public boolean deleteHosted(String id) {
    return update("DELETE FROM hosted WHERE id = ?", id) > 0;
  }

  @Override
  public List<HostedRow> listHosted() {
    return query(
        "SELECT id, detail_json, disk_only, started_unix_millis, end_unix_millis FROM hosted"
            + " ORDER BY id",
        row ->
            new HostedRow(
                row.getString(1),
                row.getString(2),
                row.getInt(3) != 0,
                row.getLong(4),
                row.getLong(5)));
  }

  private SnapshotRow snapshot(ResultSet row) throws SQLException {
    return new SnapshotRow(
        row.getString(1),
        SnapshotState.valueOf(row.getString(2)),
        row.getInt(3) != 0,
        optional(row, 4),
        optional(row, 5),
        optional(row, 6),
        row.getLong(7),
        row.getString(8));
  }

  private SandboxRow sandbox(ResultSet row) throws SQLException {
    return new SandboxRow(
        row.getString(1),
        SandboxState.valueOf(row.getString(2)),
        row.getString(3),
        row.getLong(4),
        row.getLong(5),
        row.getLong(6),
        optionalInt(row, 7),
        row.getString(8));
  }

  private WorkspaceRow workspace(ResultSet row) throws SQLException {
    return new WorkspaceRow(
        row.getString(1),
        row.getString(2),
        WorkspaceState.valueOf(row.getString(3)),
        row.getString(4),
        optional(row, 5),
        optional(row, 6),
        optional(row, 7),
        optional(row, 8),
        optional(row, 9),
        row.getLong(10),
        optionalInt(row, 11),
        row.getLong(12),
        row.getLong(13));
  }

  private static Optional<String> optional(ResultSet row, int column) throws SQLException {
    return Optional.ofNullable(row.getString(column));
  }

  private static Optional<Integer> optionalInt(ResultSet row, int column) throws SQLException {
    int value = row.getInt(column);
    return row.wasNull() ? Optional.empty() : Optional.of(value);
  }

  private static <T> Optional<T> first(List<T> rows) {
    return rows.isEmpty() ? Optional.empty() : Optional.of(rows.getFirst());
  }

  private static void requireAdded(int rows, String what, String id) {
    if (rows == 0) {
      throw new ForkdException(
          ErrorCode.ALREADY_EXISTS,
          what + " '" + id + "' exists already; choose another name or delete it first");
    }
  }

  private static void requireFound(int rows, String what, String id) {
    if (rows == 0) {
      throw new ForkdException(ErrorCode.NOT_FOUND, what + " '" + id + "' is not stored");
    }
  }

  private int update(String statement, @Nullable Object... arguments) {
    try {
      return sql.update(statement, arguments);
    } catch (SQLException e) {
      throw SqliteErrors.translate(file, e);
    }
  }

  private <T> List<T> query(
      String statement, Sql.RowReader<T> reader, @Nullable Object... arguments) {
    try {
      return sql.query(statement, reader, arguments);
    } catch (SQLException e) {
      throw SqliteErrors.translate(file, e);
    }
  }
}
