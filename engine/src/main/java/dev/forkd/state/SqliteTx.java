package dev.forkd.state;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.file.Path;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
  private static final String LAYER_COLUMNS = "id, kind, path, bytes";

  private final Sql sql;
  private final Path file;
  private final InstantSource clock;

  SqliteTx(Sql sql, Path file, InstantSource clock) {
    this.sql = sql;
    this.file = file;
    this.clock = clock;
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
    dropReferencesOf(OwnerKind.SNAPSHOT, tag);
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
    dropReferencesOf(OwnerKind.SANDBOX, id);
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
  public void insertLayer(LayerRow row) {
    int added =
        update(
            "INSERT INTO layer (" + LAYER_COLUMNS + ") VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            row.id(),
            row.kind().name(),
            row.path(),
            row.bytes());
    requireAdded(added, "layer", row.id());
  }

  @Override
  public void updateLayer(LayerRow row) {
    int changed =
        update(
            "UPDATE layer SET kind = ?, path = ?, bytes = ? WHERE id = ?",
            row.kind().name(),
            row.path(),
            row.bytes(),
            row.id());
    requireFound(changed, "layer", row.id());
  }

  @Override
  public boolean deleteLayer(String id) {
    List<LayerRef> users = referencesTo(id);
    if (!users.isEmpty()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "layer '"
              + id
              + "' cannot be deleted: "
              + users.size()
              + " need it, the first is "
              + users.getFirst().ownerKind()
              + " '"
              + users.getFirst().ownerId()
              + "'; delete those first");
    }
    dropReferencesOf(OwnerKind.LAYER, id);
    return update("DELETE FROM layer WHERE id = ?", id) > 0;
  }

  @Override
  public Optional<LayerRow> findLayer(String id) {
    return first(query("SELECT " + LAYER_COLUMNS + " FROM layer WHERE id = ?", this::layer, id));
  }

  @Override
  public List<LayerRow> listLayers() {
    return query("SELECT " + LAYER_COLUMNS + " FROM layer ORDER BY id", this::layer);
  }

  @Override
  public List<LayerRow> unreferencedLayers() {
    return query(
        "SELECT "
            + LAYER_COLUMNS
            + " FROM layer WHERE NOT EXISTS"
            + " (SELECT 1 FROM layer_ref WHERE layer_id = layer.id) ORDER BY id",
        this::layer);
  }

  @Override
  public void addReference(LayerRef reference) {
    String table =
        switch (reference.ownerKind()) {
          case SNAPSHOT -> "SELECT 1 FROM snapshot WHERE tag = ?";
          case SANDBOX -> "SELECT 1 FROM sandbox WHERE id = ?";
          case LAYER -> "SELECT 1 FROM layer WHERE id = ?";
        };
    boolean ownerExists = !query(table, row -> true, reference.ownerId()).isEmpty();
    if (!ownerExists || findLayer(reference.layerId()).isEmpty()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          reference.ownerKind()
              + " '"
              + reference.ownerId()
              + "' cannot refer to layer '"
              + reference.layerId()
              + "': the "
              + (ownerExists ? "layer" : "owner")
              + " is not stored; insert it first, in the same transaction");
    }
    update(
        "INSERT INTO layer_ref (owner_kind, owner_id, layer_id) VALUES (?, ?, ?)"
            + " ON CONFLICT DO NOTHING",
        reference.ownerKind().name(),
        reference.ownerId(),
        reference.layerId());
  }

  @Override
  public void removeReference(LayerRef reference) {
    update(
        "DELETE FROM layer_ref WHERE owner_kind = ? AND owner_id = ? AND layer_id = ?",
        reference.ownerKind().name(),
        reference.ownerId(),
        reference.layerId());
  }

  @Override
  public List<LayerRow> layersOf(OwnerKind ownerKind, String ownerId) {
    return query(
        "SELECT "
            + LAYER_COLUMNS
            + " FROM layer WHERE id IN"
            + " (SELECT layer_id FROM layer_ref WHERE owner_kind = ? AND owner_id = ?)"
            + " ORDER BY id",
        this::layer,
        ownerKind.name(),
        ownerId);
  }

  @Override
  public List<LayerRef> referencesTo(String layerId) {
    return query(
        "SELECT owner_kind, owner_id, layer_id FROM layer_ref WHERE layer_id = ?"
            + " ORDER BY owner_kind, owner_id",
        row ->
            new LayerRef(OwnerKind.valueOf(row.getString(1)), row.getString(2), row.getString(3)),
        layerId);
  }

  private void dropReferencesOf(OwnerKind ownerKind, String ownerId) {
    update(
        "DELETE FROM layer_ref WHERE owner_kind = ? AND owner_id = ?", ownerKind.name(), ownerId);
  }

  @Override
  public long begin(String kind, String subject, String detailJson) {
    return query(
            "INSERT INTO operation (kind, subject, detail_json, started_unix_millis)"
                + " VALUES (?, ?, ?, ?) RETURNING id",
            row -> row.getLong(1),
            kind,
            subject,
            detailJson,
            clock.millis())
        .getFirst();
  }

  @Override
  public void step(long operation, String step) {
    int added =
        update(
            "INSERT INTO operation_step (operation, number, step) SELECT id,"
                + " (SELECT count(*) FROM operation_step WHERE operation = operation.id), ?"
                + " FROM operation WHERE id = ?",
            step,
            operation);
    requireFound(added, "operation", Long.toString(operation));
  }

  @Override
  public void done(long operation) {
    update("DELETE FROM operation WHERE id = ?", operation);
  }

  @Override
  public List<JournalEntry> open() {
    Map<Long, JournalEntry> entries = new LinkedHashMap<>();
    query(
        "SELECT id, kind, subject, detail_json, started_unix_millis, step FROM operation"
            + " LEFT JOIN operation_step ON operation_step.operation = operation.id"
            + " ORDER BY id, number",
        row -> {
          List<String> steps = new ArrayList<>();
          JournalEntry before = entries.get(row.getLong(1));
          if (before != null) {
            steps.addAll(before.steps());
          }
          optional(row, 6).ifPresent(steps::add);
          return entries.put(
              row.getLong(1),
              new JournalEntry(
                  row.getLong(1),
                  row.getString(2),
                  row.getString(3),
                  row.getString(4),
                  steps,
                  row.getLong(5)));
        });
    return List.copyOf(entries.values());
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
    int limitMib = row.getInt(7);
    Optional<Integer> limit = row.wasNull() ? Optional.empty() : Optional.of(limitMib);
    return new SandboxRow(
        row.getString(1),
        SandboxState.valueOf(row.getString(2)),
        row.getString(3),
        row.getLong(4),
        row.getLong(5),
        row.getLong(6),
        limit,
        row.getString(8));
  }

  private LayerRow layer(ResultSet row) throws SQLException {
    return new LayerRow(
        row.getString(1), LayerKind.valueOf(row.getString(2)), row.getString(3), row.getLong(4));
  }

  private static Optional<String> optional(ResultSet row, int column) throws SQLException {
    return Optional.ofNullable(row.getString(column));
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
