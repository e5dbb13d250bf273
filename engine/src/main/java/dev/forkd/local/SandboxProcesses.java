package dev.forkd.local;

import dev.forkd.engine.GuestProcesses;
import dev.forkd.engine.ProcessInput;
import dev.forkd.engine.ProcessListener;
import dev.forkd.engine.ProcessRef;
import dev.forkd.engine.ProcessSpec;
import dev.forkd.engine.ProcessStream;
import dev.forkd.engine.ProcessView;
import dev.forkd.engine.TerminalSize;
import dev.forkd.guest.AgentInput;
import dev.forkd.guest.AgentProcesses;
import dev.forkd.sandbox.Sandbox;
import java.util.List;
import java.util.function.Consumer;

/** A sandbox's kept processes; it runs while somebody listens to one. */
record SandboxProcesses(Sandbox sandbox) implements GuestProcesses {

  /** Opens a stream in a session that ends with it. */
  private interface Opening {
    ProcessStream open(AgentProcesses processes, Runnable ended);
  }

  private ProcessStream stream(Opening opening) {
    Sandbox.Session session = sandbox.enter();
    try {
      return opening.open(session.agent().processes(), session::close);
    } catch (RuntimeException e) {
      session.close();
      throw e;
    }
  }

  private void run(Consumer<AgentProcesses> work) {
    try (Sandbox.Session session = sandbox.enter()) {
      work.accept(session.agent().processes());
    }
  }

  @Override
  public ProcessStream start(ProcessSpec spec, ProcessListener listener) {
    return stream((processes, ended) -> processes.start(spec, listener, ended));
  }

  @Override
  public ProcessStream attach(ProcessRef process, ProcessListener listener) {
    return stream((processes, ended) -> processes.attach(process, listener, ended));
  }

  @Override
  public List<ProcessView> list() {
    try (Sandbox.Session session = sandbox.enter()) {
      return session.agent().processes().list();
    }
  }

  /** The sandbox runs while something is written, not while its writer has nothing to say. */
  @Override
  public ProcessInput input(ProcessRef process) {
    AgentInput input = new AgentInput(process);
    return new ProcessInput() {
      @Override
      public void write(byte[] bytes) {
        run(processes -> processes.write(input, bytes));
      }

      @Override
      public void close() {
        input.close();
      }
    };
  }

  @Override
  public void closeInput(ProcessRef process) {
    run(processes -> processes.closeInput(process));
  }

  @Override
  public void signal(ProcessRef process, int number) {
    run(processes -> processes.signal(process, number));
  }

  @Override
  public void resize(ProcessRef process, TerminalSize size) {
    run(processes -> processes.resize(process, size));
  }
}
