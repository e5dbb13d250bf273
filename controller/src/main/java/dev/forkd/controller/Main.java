package dev.forkd.controller;

import dev.forkd.engine.EngineFactory;
import java.util.Arrays;
import org.slf4j.bridge.SLF4JBridgeHandler;

/** The daemon's program, {@code forkd serve}. */
public final class Main {
  private Main() {}

  /** Ends with 0 after a stop that was asked for, 1 on failure, 2 on wrong usage. */
  public static void main(String[] args) {
    SLF4JBridgeHandler.removeHandlersForRootLogger();
    SLF4JBridgeHandler.install();
    System.exit(ServeCommand.run(EngineFactory::open, System.getenv(), withoutVerb(args)));
  }

  /** The launcher passes the verb on. */
  static String[] withoutVerb(String[] args) {
    return args.length > 0 && args[0].equals("serve")
        ? Arrays.copyOfRange(args, 1, args.length)
        : args;
  }
}
