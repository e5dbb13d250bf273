package dev.forkd.state;

import java.util.List;
import java.util.Optional;

/**
 * What can be asked of the state store. Lists are sorted by id.
 *
 * <p>Inserting what exists is {@code ALREADY_EXISTS}, updating what does not is {@code NOT_FOUND};
 * deleting what does not exist is no error, so that an undo can run twice.
 */
public interface Tx {
  void insertSnapshot(SnapshotRow row);

  void updateSnapshot(SnapshotRow row);

  /**
   * Removes the row and its layer references; rows that name it as parent keep the name.
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
   * Removes the row and its layer references.
   *
   * @return whether there was one
   */
  boolean deleteSandbox(String id);

  Optional<SandboxRow> findSandbox(String id);

  List<SandboxRow> listSandboxes();

  /**
   * Adds a layer. Add what refers to it in the same transaction, or it counts as unreferenced in
   * between.
   */
  void insertLayer(LayerRow row);

  void updateLayer(LayerRow row);

  /**
   * Removes the row and its own references to layers below.
   *
   * @return whether there was one
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION while something refers to it
   */
  boolean deleteLayer(String id);

  Optional<LayerRow> findLayer(String id);

  List<LayerRow> listLayers();

  /**
   * Layers nothing refers to. Remove the file first and the row after it: a crash in between leaves
   * a row whose removal can be repeated. Removing one may free those below it, so ask again.
   */
  List<LayerRow> unreferencedLayers();

  /**
   * Adds an edge; adding it twice is no error.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when owner or layer does not exist
   */
  void addReference(LayerRef reference);

  /** Removes an edge, if it is there. */
  void removeReference(LayerRef reference);

  /** The layers an owner refers to directly. */
  List<LayerRow> layersOf(OwnerKind ownerKind, String ownerId);

  /** Who refers to a layer. */
  List<LayerRef> referencesTo(String layerId);

  /**
   * Begins an operation of several steps.
   *
   * @return its number, for {@link #step} and {@link #done}
   */
  long begin(String kind, String subject, String detailJson);

  /** Says what is about to be done; written before the side effect. */
  void step(long operation, String step);

  /** Ends an operation, done or undone; ending it twice is no error. */
  void done(long operation);

  /** Operations not ended, oldest first. */
  List<JournalEntry> open();
}
