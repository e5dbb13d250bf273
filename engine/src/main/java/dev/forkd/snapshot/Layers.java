package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.disk.DiskLayers;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.vmm.DiskLayer;
import java.io.IOException;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;

/** Disk layers as manifests name them, and back. */
public final class Layers {
  private Layers() {}

  /** Names a layer, whatever it holds. */
  public static LayerRef ref(DiskLayer layer) {
    return new LayerRef(
        layer.id(), layer.format().wireName(), OptionalLong.empty(), Optional.empty());
  }

  /** Names a layer that nobody writes any more, and what it holds; makes it durable. */
  public static LayerRef sealed(DiskLayer layer, DiskLayers layers) {
    DiskLayers.Seal seal = layers.seal(layer);
    return new LayerRef(
        layer.id(),
        layer.format().wireName(),
        OptionalLong.of(seal.sizeBytes()),
        Optional.of(seal.contentHash()));
  }

  /**
   * Checks that a layer is as it was when it was named.
   *
   * @throws ForkdException DATA_LOSS naming the file and what is wrong with it
   */
  static void check(LayerRef ref, DiskLayers layers, String tag) {
    DiskLayer layer = layer(ref, layers);
    try {
      layers.check(
          layer,
          ref.contentHash().map(hash -> new DiskLayers.Seal(ref.sizeBytes().orElse(0), hash)));
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.DATA_LOSS,
          "disk layer "
              + layer.path()
              + " of snapshot '"
              + tag
              + "' cannot be used: "
              + e.getMessage()
              + ". Delete the snapshots that stand on it (forkd rmi) and make them again",
          e);
    }
  }

  /**
   * @throws ForkdException DATA_LOSS for a format there is none of
   */
  public static DiskLayer layer(LayerRef ref, DiskLayers layers) {
    for (DiskLayer.Format format : DiskLayer.Format.values()) {
      if (format.wireName().equals(ref.format().toLowerCase(Locale.ROOT))) {
        return layers.layer(ref.id(), format);
      }
    }
    throw new ForkdException(
        ErrorCode.DATA_LOSS,
        "disk layer " + ref.id() + " has the unknown format '" + ref.format() + "'");
  }
}
