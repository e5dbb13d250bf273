package dev.forkd.fork;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.vmm.VmmCapabilities;

/**
 * What a host must have in common with the one a snapshot was made on.
 *
 * @param vmm monitor and version
 * @param isolation tier
 * @param machineHash of the machine's arguments
 * @param tscKhz rate of its time stamp counter
 */
public record HostProfile(String vmm, String isolation, String machineHash, int tscKhz) {

  /** Clock rates are measured; two measurements of one host differ by less than this. */
  private static final double TSC_TOLERANCE = 0.001;

  public static HostProfile of(VmmCapabilities vmm, int tscKhz) {
    return new HostProfile(
        vmm.name() + " " + vmm.version(), vmm.isolation().wireName(), vmm.machine(), tscKhz);
  }

  /**
   * @throws ForkdException FAILED_PRECONDITION naming what differs
   */
  public void check(SnapshotManifest manifest) {
    SnapshotManifest.Platform saved = manifest.platform();
    require(manifest, "VMM", saved.vmm(), vmm);
    require(manifest, "isolation", saved.isolation(), isolation);
    require(manifest, "machine", saved.machineHash(), machineHash);
    if (Math.abs(saved.tscKhz() - tscKhz) > tscKhz * TSC_TOLERANCE) {
      require(manifest, "clock", saved.tscKhz() + " kHz", tscKhz + " kHz");
    }
  }

  private static void require(SnapshotManifest manifest, String what, String saved, String here) {
    if (!saved.equals(here)) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "snapshot '"
              + manifest.tag()
              + "' was saved with "
              + what
              + " '"
              + saved
              + "', this host has '"
              + here
              + "': make the template again (forkd template build --replace)");
    }
  }
}
