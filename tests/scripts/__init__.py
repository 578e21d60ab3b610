"""The scripts, called raw: keys and arguments bound by the names of their headers, without the clients."""
