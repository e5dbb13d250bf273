package dev.forkd.api.rest;

import java.util.List;

/** Answer of {@code GET /v1/recovery}: what the daemon found when it took over its data. */
public record RecoveryInfo(List<String> adopted, List<String> settled, List<String> reaped) {
  public RecoveryInfo {
    adopted = Wire.list(adopted, "adopted");
    settled = Wire.list(settled, "settled");
    reaped = Wire.list(reaped, "reaped");
  }
}
