package dev.forkd.state;

import java.util.List;
import java.util.Optional;

/**
 * What can be asked of the state store. Lists are sorted by id, tag or name.
 *
 * <p>Inserting what exists is {@code ALREADY_EXISTS}, updating what does not is {@code NOT_FOUND};
 * deleting what does not exist is no error, so that an undo can run twice.
 */
public interface Tx {
  void insertSnapshot(SnapshotRow row);

  void updateSnapshot(SnapshotRow row);

  /**
   * Removes the row; rows that name it as parent keep the name.
   *
   * @return whether there was one
   */
  boolean deleteSnapshot(String tag);

  Optional<SnapshotRow> findSnapshot(String tag);

  List<SnapshotRow> listSnapshots();

  /** Snapshots that name {@code tag} as their parent. */
  List<SnapshotRow> childrenOf(String tag);

  void insertSandbox(SandboxRow row);

  void updateSandbox(SandboxRow row);

  /**
   * Removes the row.
   *
   * @return whether there was one
   */
  boolean deleteSandbox(String id);

  Optional<SandboxRow> findSandbox(String id);

  List<SandboxRow> listSandboxes();

  void insertWorkspace(WorkspaceRow row);

  void updateWorkspace(WorkspaceRow row);

  /**
   * Removes the row.
   *
   * @return whether there was one
   */
  boolean deleteWorkspace(String name);

  Optional<WorkspaceRow> findWorkspace(String name);

  List<WorkspaceRow> listWorkspaces();

  /** Inserts or replaces. */
  void putPool(PoolRow row);

  /**
   * Removes the row.
   *
   * @return whether there was one
   */
  boolean deletePool(String tag);

  List<PoolRow> listPools();

  /** Inserts or replaces. */
  void putHosted(HostedRow row);

  /**
   * Removes the row.
   *
   * @return whether there was one
   */
  boolean deleteHosted(String id);

  List<HostedRow> listHosted();
}
