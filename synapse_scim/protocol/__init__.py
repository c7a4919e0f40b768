"""What this module announces, how it reads requests, and who may do what. The rules of SCIM are scim2-server's."""
