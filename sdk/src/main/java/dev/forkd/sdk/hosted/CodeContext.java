package dev.forkd.sdk.hosted;

/**
 * A kernel of its own in a hosted sandbox: what runs in it sees nothing of other contexts.
 *
 * @param language {@code python}, {@code javascript}, {@code bash} or {@code java}
 * @param cwd the folder it was started in
 */
public record CodeContext(String id, String language, String cwd) {}
