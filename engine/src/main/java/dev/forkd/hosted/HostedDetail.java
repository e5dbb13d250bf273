package dev.forkd.hosted;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.HostedSpec;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/** What does not change about a hosted sandbox, as it is stored. */
record HostedDetail(
    String snapshot,
    long timeoutMillis,
    Map<String, String> metadata,
    Map<String, String> env,
    Map<String, String> attributes,
    HostedSpec.AtEnd atEnd,
    boolean resumesBySelf,
    Optional<String> accessToken,
    int memoryMib,
    int diskMib) {
  private static final JsonMapper JSON = JsonMapper.shared();

  /**
   * @param timeout the spec's own may be longer than any that can be kept
   */
  static HostedDetail of(
      HostedSpec spec, Duration timeout, Optional<String> accessToken, HostedHost.Size size) {
    return new HostedDetail(
        spec.snapshot().value(),
        timeout.toMillis(),
        spec.metadata(),
        spec.env(),
        spec.attributes(),
        spec.atEnd(),
        spec.resumesBySelf(),
        accessToken,
        size.memoryMib(),
        size.diskMib());
  }

  HostedSpec spec() {
    return new HostedSpec(
        new Tag(snapshot),
        Duration.ofMillis(timeoutMillis),
        metadata,
        env,
        attributes,
        atEnd,
        resumesBySelf,
        accessToken.isPresent());
  }

  String toJson() {
    return JSON.writeValueAsString(this);
  }

  /**
   * @throws ForkdException DATA_LOSS when it is damaged
   */
  static HostedDetail fromJson(String json) {
    try {
      return JSON.readValue(json, HostedDetail.class);
    } catch (JacksonException e) {
      throw new ForkdException(
          ErrorCode.DATA_LOSS, "what is stored about a hosted sandbox cannot be read", e);
    }
  }
}
