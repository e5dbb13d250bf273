package dev.forkd.snapshot;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.disk.DiskLayers;
import dev.forkd.snapshot.SnapshotManifest.LayerRef;
import dev.forkd.vmm.DiskLayer;
import java.util.Locale;

/** Disk layers as manifests name them, and back. */
public final class Layers {
  private Layers() {}

  public static LayerRef ref(DiskLayer layer) {
    return new LayerRef(layer.id(), layer.format().wireName());
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
