package dev.forkd.guest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessRef;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import dev.forkd.engine.ProcessView;
import dev.forkd.engine.TerminalSize;
import java.io.OutputStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;

/** A guest's kept processes through its agent; see {@link dev.forkd.engine.GuestProcesses}. */
public final class AgentProcesses {
  private static final Duration PATIENCE = Duration.ofSeconds(20);

  /** For input that a process does not read. */
  private static final Duration STALL = Duration.ofSeconds(60);

  private final GuestAgent agent;

  AgentProcesses(GuestAgent agent) {
    this.agent = agent;
  }

  /**
   * Starts a process.
   *
   * @param ended runs when nobody listens to it any more through what is returned
   */
  public ProcessStream start(ProcessSpec spec, ProcessListener listener, Runnable ended) {
    Map<String, Object> request = new LinkedHashMap<>();
    request.put("op", "start");
    request.put("args", spec.args());
    request.put("env", new HashMap<>(spec.env()));
    spec.cwd().ifPresent(cwd -> request.put("cwd", cwd));
    spec.user().ifPresent(user -> request.put("user", user));
    request.put("stdin", spec.input());
    spec.terminal().ifPresent(size -> request.put("pty", size(size)));
    spec.label().ifPresent(label -> request.put("label", label));
    spec.lifetime().ifPresent(life -> request.put("lifetimeMillis", Math.max(1, life.toMillis())));
    return new AgentProcessStream(
        agent, agent.open(request), spec.terminal().isPresent(), listener, ended);
  }

  /** Listens to one that runs; see {@link #start} for {@code ended}. */
  public ProcessStream attach(ProcessRef process, ProcessListener listener, Runnable ended) {
    boolean terminal =
        list().stream()
            .filter(view -> matches(process, view))
            .reduce((_, youngest) -> youngest)
            .map(view -> view.spec().terminal().isPresent())
            .orElse(false);
    return new AgentProcessStream(
        agent, agent.open(request("attach", process)), terminal, listener, ended);
  }

  private static boolean matches(ProcessRef process, ProcessView view) {
    return switch (process) {
      case ProcessRef.Pid(int pid) -> view.pid() == pid;
      case ProcessRef.Labelled(String label) -> view.spec().label().equals(Optional.of(label));
    };
  }

  /** Those that live, sorted by process id. */
  public List<ProcessView> list() {
    List<ProcessView> all = new ArrayList<>();
    agent
        .call(Map.of("op", "processes"), PATIENCE)
        .path("processes")
        .forEach(node -> all.add(view(node)));
    return all;
  }

  private static ProcessView view(JsonNode node) {
    List<String> args = new ArrayList<>();
    node.path("args").forEach(arg -> args.add(arg.asString("")));
    Map<String, String> env = new HashMap<>();
    node.path("env").properties().forEach(e -> env.put(e.getKey(), e.getValue().asString("")));
    JsonNode pty = node.path("pty");
    Optional<TerminalSize> terminal =
        pty.isObject()
            ? Optional.of(
                new TerminalSize(pty.path("columns").asInt(80), pty.path("rows").asInt(24)))
            : Optional.empty();
    return new ProcessView(
        node.path("pid").asInt(0),
        new ProcessSpec(
            args,
            env,
            GuestAgent.text(node, "cwd"),
            GuestAgent.text(node, "user"),
            terminal,
            node.path("stdin").asBoolean(false),
            GuestAgent.text(node, "label"),
            Optional.empty()));
  }

  /** Writes to a process; waits until all was taken. */
  public void write(AgentInput input, byte[] bytes) {
    AgentStream stream = agent.open(request("input", input.process()));
    try {
      input.begin(agent, stream);
      try {
        stream.sendInput(bytes, 0, bytes.length, STALL);
        agent.sendEof(stream);
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.FAILED_PRECONDITION) {
          throw e;
        }
        // The guest has refused, or it was given up: what ended the stream says why.
      }
      agent.drain(stream, OutputStream.nullOutputStream(), STALL, "input");
    } finally {
      input.end();
      agent.cancel(stream, AgentInput.GIVEN_UP); // Unless it has ended by itself.
    }
  }

  public void closeInput(ProcessRef process) {
    agent.call(request("closeInput", process), STALL);
  }

  /** Sends a signal to its process group. */
  public void signal(ProcessRef process, int number) {
    Map<String, Object> request = request("signal", process);
    request.put("signal", number);
    agent.call(request, PATIENCE);
  }

  /** Changes the size of its terminal. */
  public void resize(ProcessRef process, TerminalSize size) {
    Map<String, Object> request = request("resize", process);
    request.putAll(size(size));
    agent.call(request, PATIENCE);
  }

  private static Map<String, Integer> size(TerminalSize size) {
    return Map.of("columns", size.columns(), "rows", size.rows());
  }

  private static Map<String, Object> request(String op, ProcessRef process) {
    Map<String, Object> request = new LinkedHashMap<>();
    request.put("op", op);
    switch (process) {
      case ProcessRef.Pid(int pid) -> request.put("pid", pid);
      case ProcessRef.Labelled(String label) -> request.put("label", label);
    }
    return request;
  }
}
