package dev.forkd.engine;

/** A user of the guest. */
public record GuestAccount(String name, int uid, int gid, String home) {}
