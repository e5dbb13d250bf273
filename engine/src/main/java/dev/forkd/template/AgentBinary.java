package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;

/** The guest agent, compiled from the sources in the checkout whenever they have changed. */
public final class AgentBinary {
  static final String PROGRAM = "forkd-agent";
  static final String EVALUATOR = "evaluator.py";

  private final SourceBuild source;

  /**
   * @param forkdHome the checkout, which holds {@code guest/agent}
   * @param folder where built agents are kept, named by the hash of their sources
   */
  public AgentBinary(Path forkdHome, Path folder) {
    this.source =
        new SourceBuild(
            forkdHome.resolve("guest/agent"),
            folder,
            PROGRAM,
            List.of(EVALUATOR),
            "gcc, libc6-dev and libjansson-dev");
  }

  /**
   * A built agent.
   *
   * @param binary the static program that is a guest's /init
   * @param evaluator the Python program behind {@code eval}
   * @param sourceHash SHA-256 over the sources, in hexadecimal
   */
  public record Built(Path binary, Path evaluator, String sourceHash) {}

  /** The agent of these very sources, compiled first if need be. */
  public Built build(Consumer<String> progress) {
    if (!source.hasSources()) {
      throw new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          "the guest agent's sources are not in '"
              + source.sources()
              + "'; set FORKD_HOME to a checkout of forkd");
    }
    SourceBuild.Built built = source.build("the guest agent", progress);
    return new Built(
        built.place().resolve(PROGRAM), built.place().resolve(EVALUATOR), built.sourceHash());
  }
}
