package dev.forkd.http.e2b;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.annotation.Nulls;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.http.Exchange;
import java.io.IOException;
import java.io.InputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/** The messages as E2B's OpenAPI names them. */
final class Messages {
  private static final int BODY_BYTES_MAX = 1 << 20;

  private static final JsonMapper MAPPER =
      JsonMapper.builder()
          .changeDefaultPropertyInclusion(
              inclusion -> inclusion.withValueInclusion(JsonInclude.Include.NON_ABSENT))
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .disable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
          // E2B's server reads a null in a map or list as empty text.
          .changeDefaultNullHandling(nulls -> nulls.withContentNulls(Nulls.AS_EMPTY))
          .build();

  private Messages() {}

  /** Reads a body; one that is not there is an empty message. */
  static <T> T read(Exchange exchange, Class<T> type) {
    try (InputStream body = exchange.bodyStream()) {
      byte[] bytes = exchange.kept(body, BODY_BYTES_MAX + 1);
      if (bytes.length > BODY_BYTES_MAX) {
        throw new ForkdException(
            ErrorCode.INVALID_ARGUMENT, "the body is larger than " + BODY_BYTES_MAX + " bytes");
      }
      return Optional.ofNullable(
              MAPPER.readValue(bytes.length == 0 ? new byte[] {'{', '}'} : bytes, type))
          .orElseThrow(() -> Listing.invalid("the body is null; an object was expected"));
    } catch (JacksonException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "the body is not the JSON that was expected: "
              + String.valueOf(e.getOriginalMessage()).lines().findFirst().orElse(""),
          e);
    } catch (IOException e) {
      throw new dev.forkd.http.ClientGoneException(e);
    }
  }

  /** Tells whether a message is the same as another one. */
  static String fingerprint(Object message) {
    try {
      return HexFormat.of()
          .formatHex(
              MessageDigest.getInstance("SHA-256").digest(MAPPER.writeValueAsBytes(message)));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }

  static void write(Exchange exchange, int status, Object message) {
    exchange.bytes(status, "application/json", MAPPER.writeValueAsBytes(message));
  }

  /** What to do when a request comes for a sandbox that is paused. */
  record AutoResume(boolean enabled) {}

  /**
   * Who may reach what.
   *
   * @param dnsServers whom a sandbox may ask that is allowed to reach host names
   * @param httpsPorts ports behind which TLS is spoken
   */
  record Network(
      Optional<List<String>> allowOut,
      Optional<List<String>> denyOut,
      Optional<Boolean> allowPublicTraffic,
      Optional<String> maskRequestHost,
      Optional<List<String>> dnsServers,
      Optional<List<Integer>> httpsPorts,
      Optional<Object> rules,
      Optional<Object> egressProxy,
      @JsonProperty("allow_internet_access") Optional<Boolean> allowInternetAccess) {}

  record CreateSandbox(
      Optional<String> templateID,
      OptionalLong timeout,
      Optional<Map<String, String>> metadata,
      Optional<Map<String, String>> envVars,
      Optional<Boolean> secure,
      boolean autoPause,
      Optional<Boolean> autoPauseMemory,
      Optional<AutoResume> autoResume,
      Optional<Network> network,
      @JsonProperty("allow_internet_access") Optional<Boolean> allowInternetAccess,
      Optional<List<Object>> volumeMounts,
      Optional<Object> mcp,
      Optional<Object> iam) {}

  record Timeout(OptionalLong timeout, Optional<Boolean> memory, Optional<Boolean> autoPause) {}

  record Refresh(OptionalLong duration) {}

  /**
   * @param requireHealthyGuest without effect: a guest that does not answer is never paused
   */
  record Pause(Optional<Boolean> memory, Optional<Boolean> requireHealthyGuest) {}

  record Fork(OptionalLong timeout, OptionalLong count) {}

  record CreateSnapshot(Optional<String> name, Optional<Boolean> memory) {}

  record Sandbox(
      String sandboxID,
      String templateID,
      Optional<String> alias,
      String clientID,
      String envdVersion,
      Optional<String> envdAccessToken,
      Optional<String> trafficAccessToken,
      Optional<String> domain) {}

  record Lifecycle(String onTimeout, boolean autoResume) {}

  /** A sandbox in a list, and, with the last components, by itself. */
  record SandboxInfo(
      String sandboxID,
      String templateID,
      Optional<String> alias,
      String clientID,
      String startedAt,
      String endAt,
      String state,
      int cpuCount,
      int memoryMB,
      int diskSizeMB,
      String envdVersion,
      Map<String, String> metadata,
      Optional<String> envdAccessToken,
      Optional<String> domain,
      Optional<Boolean> allowInternetAccess,
      Optional<Map<String, Object>> network,
      Optional<Lifecycle> lifecycle,
      Optional<String> pauseMode) {}

  record Problem(
      int code, String message, @JsonProperty("error_code") Optional<String> errorCode) {}

  record ForkResult(Optional<Sandbox> sandbox, Optional<Problem> error) {}

  record Snapshot(String snapshotID, List<String> names) {}

  record Metric(
      String timestamp,
      long timestampUnix,
      int cpuCount,
      double cpuUsedPct,
      long memUsed,
      long memTotal,
      long memCache,
      long diskUsed,
      long diskTotal) {}

  record Template(
      String templateID,
      String buildID,
      int cpuCount,
      int memoryMB,
      int diskSizeMB,
      @JsonProperty("public") boolean open,
      List<String> aliases,
      List<String> names,
      String createdAt,
      String updatedAt,
      Optional<Object> createdBy,
      Optional<String> lastSpawnedAt,
      long spawnCount,
      int buildCount,
      String envdVersion,
      String buildStatus) {}

  record LogLine(String timestamp, String line) {}

  record LogEntry(String timestamp, String level, String message, Map<String, String> fields) {}

  record FirstLogs(List<LogLine> logs, List<LogEntry> logEntries) {}

  record Logs(List<LogEntry> logs) {}
}
