package dev.forkd.sdk;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.rest.EvalRequest;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.ExecResponse;
import dev.forkd.api.rest.PingResponse;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import java.net.http.HttpRequest.BodyPublishers;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;

/** A running microVM. Closing it kills it, however it was come by. Any thread may use it. */
public final class Sandbox implements AutoCloseable {
  /** Beyond a command's own limit: it may wait a minute for a core, and has to be sent back. */
  private static final Duration GRACE = Duration.ofSeconds(90);

  private final Transport transport;
  private final String path;
  private final SandboxInfo info;
  private final SandboxFiles files;

  Sandbox(Transport transport, SandboxInfo info) {
    this.transport = transport;
    this.info = info;
    this.path = "/v1/sandboxes/" + Transport.encode(info.id());
    this.files = new SandboxFiles(transport, path);
  }

  public String id() {
    return info.id();
  }

  /** What was known when this object was made. */
  public SandboxInfo info() {
    return info;
  }

  /** What is known now. */
  public SandboxInfo refresh() {
    return transport.get(path, SandboxInfo.class);
  }

  /** Asks the guest how it is. */
  public PingResponse ping() {
    return transport.post(path + "/ping", PingResponse.class);
  }

  /** Runs a program to its end. A status other than 0 is no exception. */
  public ExecResponse exec(String program, String... arguments) {
    return exec(Command.of(program, arguments));
  }

  /** Runs a command to its end. A status other than 0 is no exception, nor is a timeout. */
  public ExecResponse exec(Command command) {
    return transport.post(
        path + "/exec", command.wire(), ExecResponse.class, command.timeout().plus(GRACE));
  }

  /**
   * Starts a command whose output is heard as it comes.
   *
   * @param listener called on a thread of the command's own
   */
  public RunningCommand start(Command command, OutputListener listener) {
    return RunningCommand.start(transport, path, command, listener);
  }

  /** Evaluates code in the warm interpreter; what it raises is in the answer. */
  public EvalResponse eval(String code) {
    return eval(code, Command.DEFAULT_TIMEOUT);
  }

  /** Evaluates code with another time limit, 1 s to 24 h. */
  public EvalResponse eval(String code, Duration timeout) {
    return transport.post(
        path + "/eval",
        new EvalRequest(code, OptionalLong.of(Math.max(1, timeout.toSeconds()))),
        EvalResponse.class,
        timeout.plus(GRACE));
  }

  public SandboxFiles files() {
    return files;
  }

  /** Saves this sandbox as a snapshot while it lives on, copying only what diverged. */
  public Snapshot branch(String tag) {
    return branch(BranchOptions.diff().tag(tag));
  }

  /** Saves this sandbox as a snapshot while it lives on. */
  public Snapshot branch(BranchOptions options) {
    return new Snapshot(
        transport,
        transport.post(
            path + "/branch",
            options.wire(info.snapshotTag()),
            SnapshotInfo.class,
            transport.timeout()));
  }

  /** Ends it. */
  public void kill() {
    transport.call("DELETE", path, BodyPublishers.noBody(), Optional.empty());
  }

  /** Ends it; one that is gone already is fine. */
  @Override
  public void close() {
    try {
      kill();
    } catch (ForkdApiException e) {
      if (e.code() != ErrorCode.NOT_FOUND) {
        throw e;
      }
    }
  }

  @Override
  public String toString() {
    return "sandbox " + id() + " of " + info.snapshotTag();
  }
}
